"""The admin's log-in page, with the limits of `login_limits`."""

import logging

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters

from accounts import audit
from accounts.staff import login_limits

logger = logging.getLogger(__name__)


@sensitive_post_parameters()
@never_cache
def login(request: HttpRequest) -> HttpResponse:
    """Return 429 after too many wrong passwords, even if the password is right now."""
    if request.method != "POST":
        return admin.site.login(request)
    name, ip_address = request.POST.get("username", ""), audit.ip_address_of(request)
    seconds = login_limits.count_try(name, ip_address)
    if seconds:
        logger.warning("Too many wrong passwords from %s: refused for %s s", ip_address, seconds)
        context = {**admin.site.each_context(request), "title": "Log in", "minutes": -(-seconds // 60)}
        page = render(request, "admin/login_refused.html", context, status=429)
        page["Retry-After"] = str(seconds)
        return page
    response = admin.site.login(request)
    if response.status_code == 302:
        login_limits.succeeded(name, ip_address)
    return response
