"""Every address of the portal."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, include, path

from fabrique.portal.pages import files, home, hub, language, search, sign_in

urlpatterns: list[URLPattern | URLResolver] = [
    path("", home.home, name="home"),
    path("hub", hub.this, name="hub"),
    path("hub/<str:hub_id>", hub.one, name="hub-one"),
    path("hubs", hub.every, name="hubs"),
    path("search", search.search, name="search"),
    path("language", language.choose, name="language"),
    path("sign-in/<str:token>", sign_in.by_link, name="sign-in"),
    path("verifier.py", files.verifier, name="verifier"),
    path("healthz", files.health, name="healthz"),
    path("account/", include("allauth.urls")),
]
handler400 = "fabrique.portal.errors.bad_request"
handler403 = "fabrique.portal.errors.denied"
handler404 = "fabrique.portal.errors.missing"
handler500 = "fabrique.portal.errors.broken"
