"""Signals by which `render` tells the layers above, which it does not import.

Each is sent inside the transaction of the change. A receiver that raises undoes the change.
"""

from django.dispatch import Signal

# A render has entered a state; sent by `render.lifecycle.transitions.enter_state` alone. Arguments: `render`, as it is
# now, and `is_new`, true when it was just inserted.
render_changed = Signal()

# What is shown of a render has changed: a phase, a segment, a requested cancel, or the state; in the last case it comes
# before `render_changed`. Not sent for a new render. Argument: `render`.
render_moved_on = Signal()

# The sources of a render are prepared and its plan is known. Argument: `render`.
render_prepared = Signal()

# The reaper has run: receivers do what is due by now, and what a dead worker has left. Sent outside a transaction.
housekeeping = Signal()
