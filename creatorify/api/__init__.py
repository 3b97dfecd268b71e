"""What all API views share: the shape of errors, and the OpenAPI document with its pages."""
