"""Variables for a user's other servers do not reach the embedded ones and their clients."""

import httpx

import factories
import gallery_processes

FOREIGN_VARIABLES = {
    "PGHOST": "/nonexistent",
    "PGPORT": "1",
    "PGUSER": "somebody",
    "PGDATABASE": "elsewhere",
    "PGPASSWORD": "wrong",
    "PGPASSFILE": "/nonexistent",
    "PGSERVICE": "nonexistent",
    "PGSSLMODE": "verify-full",
    "PGSSLROOTCERT": "/nonexistent",
    "PGSSLNEGOTIATION": "direct",
    "PGTARGETSESSIONATTRS": "standby",
    "PGREQUIREAUTH": "none",
    "PGCHANNELBINDING": "require",
    "PGGSSENCMODE": "require",
    "PGOPTIONS": "-c default_transaction_read_only=on",
    "PGDATA": "/nonexistent",
    "REDISCLI_AUTH": "wrong",
    "REDIS_HOST": "nonexistent",
    "VALKEYCLI_AUTH": "wrong",
    "VALKEY_URL": "redis://nonexistent",
    "HTTP_PROXY": "http://127.0.0.1:1",
    "HTTPS_PROXY": "http://127.0.0.1:1",
    "ALL_PROXY": "http://127.0.0.1:1",
    "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
    "AWS_ACCESS_KEY_ID": "somebody",
    "AWS_SESSION_TOKEN": "somebodys",
}


async def test_variables_for_other_servers_do_not_affect_gallery_dev(tmp_path):
    given = {**gallery_processes.base_environment(), **FOREIGN_VARIABLES}
    async with gallery_processes.dev(given, tmp_path) as stack, httpx.AsyncClient(base_url=stack.url) as client:
        image = (await factories.post(client)).json()
        assert (await factories.wait_until_settled(client, image["id"]))["status"] == "READY"
        beside = {**given, "GALLERY_DATA_DIR": str(stack.data)}
        for command in (("doctor",), ("backup", "create", str(tmp_path / "backup")), ("keys", "list")):
            async with gallery_processes.run_gallery(beside, tmp_path / "beside", *command) as ended:
                assert await ended.process.wait() == 0, ended.log_text()
