"""`/sign-in/<token>`: a one-time link. Looking at it changes nothing, so that a preview of the link can't burn it."""

from __future__ import annotations

from django.conf import settings
from django.contrib.auth import login
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_variables
from django.views.decorators.http import require_http_methods

from fabrique.apps.now import now_ms
from fabrique.apps.people import services


@never_cache
@sensitive_variables("token")
@require_http_methods(["GET", "HEAD", "POST"])
def by_link(request: HttpRequest, token: str) -> HttpResponse:
    """GET shows the button; POST signs in, once. Raises `sign-in.link-used`."""
    if request.method != "POST":
        return render(request, "sign_in.html")
    person = services.use_sign_in_link(token, now=now_ms())
    login(request, person, backend=settings.AUTHENTICATION_BACKENDS[0])
    return HttpResponseRedirect("/")
