from datetime import timedelta

from prefect.client.orchestration import get_client

from flows.deployments import DEAD_RUN_RULE, create_dead_run_rule


def test_the_rule_for_dead_runs_is_brought_up_to_date(prefect_server: None) -> None:
    trigger = DEAD_RUN_RULE.trigger.model_copy(update={"within": timedelta(hours=1)})
    with get_client(sync_client=True) as client:
        client.create_automation(DEAD_RUN_RULE.model_copy(update={"trigger": trigger}))
        for _ in range(2):
            create_dead_run_rule(client)
        (found,) = client.read_automations_by_name(DEAD_RUN_RULE.name)
    assert found.trigger.within == DEAD_RUN_RULE.trigger.within
