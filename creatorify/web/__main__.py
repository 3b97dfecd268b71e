"""`python -m creatorify.web` starts the web process."""

from creatorify.web.server import main

if __name__ == "__main__":
    main()
