"""The stages, one module each, and the few nouns that they share.

Importing this package makes the libraries below it stay offline and silent about their user,
however a stage was started. Who has set a variable before keeps that value.
"""

import os

QUIET_ENVIRONMENT = {
    "DO_NOT_TRACK": "1",
    "DVC_NO_ANALYTICS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
    "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
}
"""Hub ids load from the local cache; ``HF_HUB_OFFLINE=0`` in the environment allows fetching."""

for _name, _value in QUIET_ENVIRONMENT.items():
    os.environ.setdefault(_name, _value)
