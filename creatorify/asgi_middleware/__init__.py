"""The layers around Django in the web process: limits of one client, uploads, waiting answers, threads.

They work on ASGI messages, before Django. What runs inside Django is in `creatorify.middleware`.
"""
