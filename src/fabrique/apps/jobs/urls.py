"""Addresses of jobs."""

from __future__ import annotations

from django.urls import path

from fabrique.apps.jobs import views

urlpatterns = [
    path("jobs", views.jobs, name="jobs"),
    path("jobs/<int:number>/cancel", views.cancel, name="job-cancel"),
    path("projects/<slug:code>/submit", views.submit, name="submit"),
]
