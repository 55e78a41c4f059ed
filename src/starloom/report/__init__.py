"""Pages and terminal tables for people, from manifests and sample rows."""
