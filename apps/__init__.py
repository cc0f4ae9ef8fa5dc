"""The apps, as data: command name -> package. Importing this imports no app."""

APPS: dict[str, str] = {
    "textcls": "cnnapps.apps.textcls",
    "go-policy": "cnnapps.apps.go_policy",
    "inspect": "cnnapps.apps.inspect",
    "classify": "cnnapps.apps.classify",
}
