"""Log-in and sessions of staff; what they see in the admin is in `accounts.admin`."""
