"""Right answers of this lesson in other styles."""

RIGHT = {}
