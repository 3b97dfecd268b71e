"""The endpoints of projects and voices: what they accept and answer. The rules are in `projects.services`."""
