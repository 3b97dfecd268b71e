"""Everything that writes a render: its states, who holds it, and what its worker has recorded."""
