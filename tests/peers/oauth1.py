"""A service of three-legged OAuth 1.0a (RFC 5849), as Authlib verifies it: its port is the only argument."""

import sys

from authlib.integrations.flask_oauth1 import AuthorizationServer, ResourceProtector
from authlib.integrations.flask_oauth1.cache import (
    create_exists_nonce_func,
    register_nonce_hooks,
    register_temporary_credential_hooks,
)
from flask import Flask, request


class Kept(dict):
    """The cache that Authlib's hooks want."""

    def set(self, key, value, timeout=None):
        self[key] = value

    def has(self, key):
        return key in self

    def delete(self, key):
        self.pop(key, None)


class Client:
    client_id = "the-consumer"

    def get_default_redirect_uri(self):
        return None

    def get_client_secret(self):
        return "the-consumers-secret"

    def get_rsa_public_key(self):
        return None


class Token:
    def __init__(self, token):
        self.token = token

    def get_oauth_token(self):
        return self.token["oauth_token"]

    def get_oauth_token_secret(self):
        return self.token["oauth_token_secret"]


class Person:
    def get_user_id(self):
        return "jo"


app = Flask(__name__)
kept, tokens = Kept(), {}


def query_client(client_id):
    return Client() if client_id == Client.client_id else None


def create_token_credential(token, temporary):
    tokens[token["oauth_token"]] = Token(token)
    return tokens[token["oauth_token"]]


server = AuthorizationServer(app, query_client=query_client)
register_nonce_hooks(server, kept)
register_temporary_credential_hooks(server, kept)
server.register_hook("create_token_credential", create_token_credential)
protected = ResourceProtector(
    app,
    query_client=query_client,
    query_token=lambda _, token: tokens.get(token),
    exists_nonce=create_exists_nonce_func(kept, "nonce-of-api:"),
)


@app.post("/request-token")
def request_token():
    return server.create_temporary_credentials_response()


@app.get("/authorize")
def ask():
    server.check_authorization_request()
    return '<form method="post"><input name="decision" value="no"></form>'


@app.post("/authorize")
def decide():
    return server.create_authorization_response(grant_user=Person() if request.form["decision"] == "yes" else None)


@app.post("/token")
def token():
    return server.create_token_response()


@app.get("/check")
@protected()
def check():
    return "jo"


app.run(port=int(sys.argv[1]), threaded=True)
