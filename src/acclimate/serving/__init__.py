"""A classifier as a web service: what answers, how waiting images become one batch, and the pages."""
