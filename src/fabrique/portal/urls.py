"""Every address of the portal."""

from __future__ import annotations

from allauth.account import views as account
from django.urls import URLPattern, URLResolver, include, path

from fabrique.portal.pages import files, home, hub, language, metrics, search, sign_in

# no address of allauth's that would promise a mail: no mail server is assumed
accounts: list[URLPattern | URLResolver] = [
    path("login/", account.login, name="account_login"),
    path("logout/", account.logout, name="account_logout"),
    path("inactive/", account.account_inactive, name="account_inactive"),
    path("signup/", account.signup, name="account_signup"),
    path("reauthenticate/", account.reauthenticate, name="account_reauthenticate"),
    path("password/change/", account.password_change, name="account_change_password"),
    path("password/set/", account.password_set, name="account_set_password"),
]
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
    path("metrics", metrics.metrics, name="metrics"),
    path("", include("fabrique.portal.desk_urls")),
    path("account/", include(accounts)),
]
handler400 = "fabrique.portal.errors.bad_request"
handler403 = "fabrique.portal.errors.denied"
handler404 = "fabrique.portal.errors.missing"
handler500 = "fabrique.portal.errors.broken"
