"""The gateway's pages for people: rendered here, a little JavaScript, nothing from elsewhere."""
