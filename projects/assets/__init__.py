"""Files of customers: uploads and their checks, avatars, and references to them in projects."""
