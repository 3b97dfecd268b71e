"""Files of weights: where they lie, how they are fetched, checked, converted, merged and loaded."""
