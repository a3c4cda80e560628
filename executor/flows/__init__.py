"""OpenFlow: the document as types, and the walk over it; knows no HTTP, SQL or container."""
