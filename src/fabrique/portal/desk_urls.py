"""Addresses of people's work: the desks of the apps, and the pages that join them."""

from __future__ import annotations

from django.urls import include, path, re_path

from fabrique.portal import desk, job_page, log_stream, members, operate, roles_page, rules_page, statements, what_if
from fabrique.portal.api.docs import addresses, docs, openapi

urlpatterns = [
    path("api/v1/docs", docs, name="api-docs"),
    path("api/v1/openapi.json", openapi, name="api-openapi"),
    path("api/v1/", include(addresses())),
    path("", include("fabrique.apps.access.urls")),
    path("", include("fabrique.apps.jobs.urls")),
    path("projects", desk.projects, name="projects"),
    path("projects/<slug:code>", desk.project, name="project"),
    path("projects/<slug:code>/invitations", members.invite, name="project-invite"),
    path("projects/<slug:code>/members/remove", members.remove, name="member-remove"),
    path("join/<str:token>", members.join, name="join"),
    path("jobs/<int:number>", job_page.job, name="job"),
    path("jobs/<int:number>/sooner", job_page.sooner, name="job-sooner"),
    path("jobs/<int:number>/log", log_stream.log, name="job-log"),
    path("jobs/<int:number>/log.txt", log_stream.whole_log, name="job-log-file"),
    path("operate", operate.machine_room, name="operate"),
    path("operator", operate.machine_room, name="operator"),
    path("operate/resume", operate.resume, name="operate-resume"),
    path("operate/verify", operate.verify, name="operate-verify"),
    path("operate/record", operate.record, name="operate-record"),
    path("operate/roles", roles_page.roles, name="roles"),
    path("operate/roles/grant", roles_page.grant, name="role-grant"),
    path("operate/roles/end", roles_page.end, name="role-end"),
    path("operate/what-if", what_if.start, name="what-if"),
    path("operate/what-if/ask", what_if.ask, name="what-if-ask"),
    path("operate/what-if/<uuid:key>", what_if.result, name="what-if-result"),
    path("operate/rules", rules_page.rules, name="rules"),
    path("operate/rules/propose", rules_page.propose, name="rules-propose"),
    path("operate/rules/<uuid:key>/decide", rules_page.decide, name="rules-decide"),
    re_path(
        r"^statements/pool/(?P<pool>[\w-]{1,64})\.(?P<form>html|pdf|json)$", statements.of_pool, name="pool-statement"
    ),
    re_path(r"^statements/(?P<code>[\w-]{1,40})\.(?P<form>html|pdf|json)$", statements.of_project, name="statement"),
]
