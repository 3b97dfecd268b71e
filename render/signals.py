"""What `render` tells the layers above it, which it does not know."""

from django.dispatch import Signal

# Sent inside the transaction that changed the row, with `render`. A receiver that raises undoes the change.
render_changed = Signal()

# Sent inside the transaction in which a render's sources are noted, with `render`.
render_prepared = Signal()

# Sent by the reaper each time it has run: what is due by now, and what a dead worker has left, can be taken up.
housekeeping = Signal()
