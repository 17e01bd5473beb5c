"""Authoring (build) and instruction (classroom)."""


def solved_notebooks(root):
    """The folder of the solved notebooks: in a clone, or inside an installed package. root: what pgcourse/ is in"""
    places = (root / "solutions", root / "pgcourse" / "solutions")
    return next((place for place in places if place.is_dir()), places[0])
