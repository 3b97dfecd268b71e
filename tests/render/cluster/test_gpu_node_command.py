"""`manage.py gpu_node`. What it does: tests/own_service/test_gpu_node.py."""

import pytest
from django.core.management import CommandError, call_command

from render.machine import host_lock
from render.models import Node


@pytest.mark.django_db
def test_two_under_one_name_would_drain_each_other(settings) -> None:
    held = host_lock.try_lock(f"gpu_node {settings.NODE_NAME}")

    with held, pytest.raises(CommandError, match="NODE_NAME of its own"):
        call_command("gpu_node")
    assert not Node.objects.exists()
