"""The page of a render with the way back to its project, which `render.admin.renders` does not know."""

from django.contrib import admin

from accounts.admin.base import NOTHING, object_link
from render.admin.renders import RenderAdmin
from render.models import Render

admin.site.unregister(Render)


@admin.register(Render)
class RenderOfProjectAdmin(RenderAdmin):
    list_display = ["short_id", "project", *RenderAdmin.list_display[1:]]
    list_select_related = ["tenant", "node", "take__project"]
    search_fields = [*RenderAdmin.search_fields, "take__project__title"]
    id_lookups = [*RenderAdmin.id_lookups, "take__project"]
    search_help_text = "Id of a render, project or tenant, or how a render's id starts; title, tenant, error, node."
    fieldsets = [
        (None, {"fields": ["id", "project", "tenant", "engine", "queue"]}),
        *RenderAdmin.fieldsets[1:],
    ]

    @admin.display(ordering="take__project__title")
    def project(self, render: Render) -> str:
        return object_link(render.take.project) if hasattr(render, "take") else NOTHING
