"""Prefect flows: order, retries, logs, artifacts, cancel. They compute nothing, without torch."""

import tasks as tasks  # sets what Prefect reads from the environment when it is imported
