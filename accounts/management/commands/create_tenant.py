"""`manage.py create_tenant NAME`."""
