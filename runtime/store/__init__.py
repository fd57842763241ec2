"""Durable records and blobs, and the in-memory catalog that everything else reads."""

from runtime.store.blobs import BlobStore
from runtime.store.catalog import Catalog
from runtime.store.store import Store

__all__ = ["BlobStore", "Catalog", "Store"]
