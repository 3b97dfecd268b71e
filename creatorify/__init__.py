"""The Django project: settings, the web process, the API's common parts, operation, and the demo.

It is the highest layer: it may import projects, render and accounts, and none of them imports it.
"""
