"""What may make a request by itself, as files say it: schedules, and the placeholders in them."""
