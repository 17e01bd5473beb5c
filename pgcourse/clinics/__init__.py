"""Bug clinics: runs of a lesson's training with one planted bug each, and what the gauges show of it."""
