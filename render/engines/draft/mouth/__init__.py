"""A mouth: its geometry (`shape`), what is seen between the lips (`interior`) and how both are drawn (`drawing`)."""
