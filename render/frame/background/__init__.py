"""The person is cut out; a color, a blur or an image comes behind, and around a padded source."""
