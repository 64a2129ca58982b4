"""The pages of schedules: their list, and one with a year of outcomes."""
