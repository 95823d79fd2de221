"""Who may do what over HTTP: identities, API keys, OpenID Connect, rates, and the record of what was refused."""
