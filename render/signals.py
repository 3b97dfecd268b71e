"""What `render` tells the layers above it, which it does not know."""

from django.dispatch import Signal

# Sent inside the transaction that changed the row, with `render`. A receiver that raises undoes the change.
render_changed = Signal()
