"""What customers request: projects with their takes, files, webhooks, and how long all of it is kept."""
