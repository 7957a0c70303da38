"""The portal's pages: one file a page or a family of pages. A view reads, asks a service, and renders; no more."""
