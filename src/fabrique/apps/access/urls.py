"""Addresses of the desk."""

from __future__ import annotations

from django.urls import path

from fabrique.apps.access import views

urlpatterns = [
    path("apply", views.doors, name="apply"),
    path("apply/<slug:mode>", views.apply, name="apply-form"),
    path("organisation", views.organisation, name="organisation"),
    path("applications", views.applications, name="applications"),
    path("applications/<uuid:key>", views.application, name="application"),
    path("applications/<uuid:key>/decide", views.decide, name="application-decide"),
    path("applications/<uuid:key>/withdraw", views.withdraw, name="application-withdraw"),
]
