"""simple-salesforce: logs in, reads, writes, pages, and fails as it would against Salesforce."""

from simple_salesforce import Salesforce

from sandbox import SANDBOX, case, redirected_session, run


def client_credentials():
    return Salesforce(
        consumer_key=SANDBOX["SANDBOX_CLIENT_ID"],
        consumer_secret=SANDBOX["SANDBOX_CLIENT_SECRET"],
        domain="sandbox.my",
        session=redirected_session(),
    )


@case("logs in with client credentials")
def _():
    salesforce = client_credentials()
    found = salesforce.query("SELECT Id FROM Organization")
    assert found["records"][0]["Id"] == SANDBOX["SANDBOX_ORG_ID"], found


run()
