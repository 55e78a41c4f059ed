"""Pages and terminal tables for people, from manifests and sample rows."""

from starloom.report.page import Report

__all__ = ["Report"]
