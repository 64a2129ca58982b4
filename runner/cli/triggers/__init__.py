"""Commands on schedules, rules and web hooks."""
