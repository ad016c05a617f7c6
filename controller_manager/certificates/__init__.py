"""CertificateSigningRequests: approved for nodes, signed with the cluster's CA, removed when they are old."""
