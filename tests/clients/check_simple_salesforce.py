"""simple-salesforce: logs in, reads, writes, pages, and fails as it would against Salesforce."""

import csv
import io
from datetime import datetime, timedelta, timezone

from simple_salesforce import (
    Salesforce,
    SalesforceAuthenticationFailed,
    SalesforceExpiredSession,
    SalesforceMalformedRequest,
    SalesforceResourceNotFound,
)

from sandbox import SANDBOX, case, control, redirected_session, refused, run


def login(**how):
    return Salesforce(session=redirected_session(), **how)


def connected():
    return login(
        consumer_key=SANDBOX["SANDBOX_CLIENT_ID"],
        consumer_secret=SANDBOX["SANDBOX_CLIENT_SECRET"],
        domain="sandbox.my",
    )


def organization(salesforce):
    return salesforce.query("SELECT Id FROM Organization")["records"][0]["Id"]


def accounts(salesforce, site, count):
    """Ids of accounts of one site, so that cases do not see each other's."""
    rows = [{"Name": f"Account {at:04}", "Site": site, "External_ID__c": f"{site}-{at}"} for at in range(count)]
    done = salesforce.bulk2.Account.insert(records=rows, wait=0.1)
    assert done[0]["numberRecordsFailed"] == 0, done
    created = salesforce.bulk2.Account.get_successful_records(done[0]["job_id"])
    return [row["sf__Id"] for row in csv.DictReader(io.StringIO(created))]


@case("logs in over SOAP with a security token")
def _():
    salesforce = login(
        username=SANDBOX["SANDBOX_USERNAME"],
        password=SANDBOX["SANDBOX_PASSWORD"],
        security_token=SANDBOX["SANDBOX_SECURITY_TOKEN"],
        domain="test",
    )
    assert organization(salesforce) == SANDBOX["SANDBOX_ORG_ID"]
    assert salesforce.is_sandbox() is True


@case("is refused over SOAP with the platform's words")
def _():
    error = refused(
        SalesforceAuthenticationFailed, login, username="x", password="y", security_token="z", domain="test"
    )
    assert error.code == "INVALID_LOGIN", error
    assert str(error).endswith("Invalid username, password, security token; or user locked out."), error


@case("logs in with client credentials in a Basic header")
def _():
    assert organization(connected()) == SANDBOX["SANDBOX_ORG_ID"]


@case("logs in with user name and password over OAuth")
def _():
    salesforce = login(
        username=SANDBOX["SANDBOX_USERNAME"],
        password=SANDBOX["SANDBOX_PASSWORD"],
        consumer_key=SANDBOX["SANDBOX_CLIENT_ID"],
        consumer_secret=SANDBOX["SANDBOX_CLIENT_SECRET"],
        domain="test",
    )
    assert organization(salesforce) == SANDBOX["SANDBOX_ORG_ID"]


@case("logs in with a signed assertion, for either audience")
def _():
    for domain in ("login", "test"):
        salesforce = login(
            username=SANDBOX["SANDBOX_USERNAME"],
            consumer_key=SANDBOX["SANDBOX_CLIENT_ID"],
            privatekey_file=SANDBOX["SANDBOX_JWT_KEY"],
            domain=domain,
        )
        assert organization(salesforce) == SANDBOX["SANDBOX_ORG_ID"]


@case("is refused with a wrong secret")
def _():
    error = refused(
        SalesforceAuthenticationFailed,
        login,
        consumer_key=SANDBOX["SANDBOX_CLIENT_ID"],
        consumer_secret="wrong",
        domain="sandbox.my",
    )
    assert error.code == "invalid_client", error


@case("renews its session by itself, and without credentials says that it expired")
def _():
    salesforce = connected()
    session = salesforce.session_id
    control("DELETE", "sessions")
    assert organization(salesforce) == SANDBOX["SANDBOX_ORG_ID"]
    assert salesforce.session_id != session
    bare = login(session_id=session, instance_url=SANDBOX["SANDBOX_HTTP"])
    error = refused(SalesforceExpiredSession, bare.query, "SELECT Id FROM Organization")
    assert error.content[0]["errorCode"] == "INVALID_SESSION_ID", error.content


@case("describes the org and an object")
def _():
    salesforce = connected()
    names = [each["name"] for each in salesforce.describe()["sobjects"]]
    assert "Account" in names and "s_c__Store__c" in names
    fields = {field["name"]: field for field in salesforce.Account.describe()["fields"]}
    assert fields["External_ID__c"]["externalId"] and fields["External_ID__c"]["unique"]
    assert salesforce.Account.metadata()["objectDescribe"]["keyPrefix"] == "001"


@case("creates, reads, updates, upserts and deletes a record")
def _():
    salesforce = connected()
    made = salesforce.Account.create({"Name": "One", "External_ID__c": "SS/1 a"})
    assert made["success"] and made["errors"] == [], made
    assert salesforce.Account.get(made["id"])["Name"] == "One"
    assert salesforce.Account.update(made["id"], {"Name": "Two"}) == 204
    assert salesforce.Account.upsert("External_ID__c/SS-2", {"Name": "Three"}) == 201
    assert salesforce.Account.upsert("External_ID__c/SS-2", {"Name": "Four"}) == 200
    assert salesforce.Account.get_by_custom_id("External_ID__c", "SS-2")["Name"] == "Four"
    assert salesforce.Account.delete(made["id"]) == 204
    error = refused(SalesforceResourceNotFound, salesforce.Account.get, made["id"])
    assert error.content[0]["errorCode"] == "ENTITY_IS_DELETED", error.content


@case("queries, and pages through what does not fit")
def _():
    salesforce = connected()
    accounts(salesforce, "paged", 2_500)
    soql = "SELECT Id, Name FROM Account WHERE Site = 'paged' ORDER BY Name DESC"
    first = salesforce.query(soql)
    assert (first["totalSize"], first["done"], len(first["records"])) == (2_500, False, 2_000)
    second = salesforce.query_more(first["nextRecordsUrl"], identifier_is_url=True)
    assert second["done"] and second["records"][-1]["Name"] == "Account 0000"
    locator = first["nextRecordsUrl"].rsplit("/", 1)[1]
    assert len(salesforce.query_more(locator)["records"]) == 500
    assert salesforce.query_all(soql)["totalSize"] == 2_500
    assert sum(1 for _ in salesforce.query_all_iter(soql)) == 2_500
    error = refused(SalesforceMalformedRequest, salesforce.query_more, "0r8Sb0000000zzzAAA-2000")
    assert error.content[0]["errorCode"] == "INVALID_QUERY_LOCATOR", error.content


@case("includes deleted records when it asks for them")
def _():
    salesforce = connected()
    ids = accounts(salesforce, "binned", 3)
    salesforce.Account.delete(ids[0])
    soql = "SELECT Id, IsDeleted FROM Account WHERE Site = 'binned'"
    assert salesforce.query(soql)["totalSize"] == 2
    deleted = [each["Id"] for each in salesforce.query(soql, include_deleted=True)["records"] if each["IsDeleted"]]
    assert deleted == [ids[0]], deleted


@case("asks what was updated and deleted")
def _():
    salesforce = connected()
    kept, gone = accounts(salesforce, "replicated", 2)
    salesforce.Account.delete(gone)
    end = datetime.now(timezone.utc) + timedelta(minutes=1)
    start = end - timedelta(minutes=10)
    assert kept in salesforce.Account.updated(start, end)["ids"]
    assert gone in [each["id"] for each in salesforce.Account.deleted(start, end)["deletedRecords"]]


@case("fails as it would against Salesforce")
def _():
    salesforce = connected()
    salesforce.Account.create({"Name": "Key", "External_ID__c": "SS-KEY"})
    twice = refused(SalesforceMalformedRequest, salesforce.Account.create, {"Name": "Key", "External_ID__c": "SS-KEY"})
    assert twice.content[0]["errorCode"] == "DUPLICATE_VALUE", twice.content
    inside = {"Name": "x", "External_ID__c": "SS-KEY"}
    error = refused(SalesforceMalformedRequest, salesforce.Account.upsert, "External_ID__c/SS-KEY", inside)
    assert error.content[0]["errorCode"] == "INVALID_FIELD", error.content
    error = refused(SalesforceMalformedRequest, salesforce.query, "SELECT Bacon__c FROM Account")
    assert "No such column 'Bacon__c' on entity 'Account'" in error.content[0]["message"], error.content
    refused(SalesforceResourceNotFound, salesforce.Bacon__c.describe)


@case("knows how much of the allowance is used")
def _():
    salesforce = connected()
    limits = salesforce.limits()["DailyApiRequests"]
    usage = salesforce.api_usage["api-usage"]
    assert usage.total == limits["Max"] and 0 < usage.used <= limits["Max"], usage


@case("loads over the Bulk API 2.0, and tells which records failed")
def _():
    salesforce = connected()
    rows = [{"Name": "Fine", "Site": "loaded"}, {"Name": "", "Site": "loaded"}]
    done = salesforce.bulk2.Account.insert(records=rows, wait=0.1)[0]
    assert (done["numberRecordsProcessed"], done["numberRecordsFailed"]) == (2, 1), done
    failed = list(csv.DictReader(io.StringIO(salesforce.bulk2.Account.get_failed_records(done["job_id"]))))
    assert len(failed) == 1 and failed[0]["sf__Error"].startswith("REQUIRED_FIELD_MISSING"), failed
    done = salesforce.bulk2.Account.upsert(
        records=[{"External_ID__c": "SSB-1", "Name": "New"}, {"External_ID__c": "SSB-1", "Name": "Known"}],
        external_id_field="External_ID__c",
        wait=0.1,
    )[0]
    made = list(csv.DictReader(io.StringIO(salesforce.bulk2.Account.get_successful_records(done["job_id"]))))
    assert [row["sf__Created"] for row in made] == ["true", "false"], made
    done = salesforce.bulk2.Account.hard_delete(records=[{"Id": made[0]["sf__Id"]}], wait=0.1)[0]
    assert done["numberRecordsFailed"] == 0, done
    soql = "SELECT Id FROM Account WHERE External_ID__c = 'SSB-1'"
    assert salesforce.query(soql, include_deleted=True)["totalSize"] == 0


@case("extracts over the Bulk API 2.0 in several pages")
def _():
    salesforce = connected()
    ids = accounts(salesforce, "extracted", 25)
    soql = "SELECT Id, Name FROM Account WHERE Site = 'extracted' ORDER BY Name"
    pages = list(salesforce.bulk2.Account.query(soql, max_records=10, wait=0.1))
    rows = [list(csv.DictReader(io.StringIO(page))) for page in pages]
    assert [len(page) for page in rows] == [10, 10, 5]
    assert [row["Id"] for page in rows for row in page] == ids
    salesforce.Account.delete(ids[0])
    everything = "".join(salesforce.bulk2.Account.query_all(soql, wait=0.1))
    assert ids[0] in everything and ids[0] not in "".join(salesforce.bulk2.Account.query(soql, wait=0.1))


@case("asks the tooling API for definitions")
def _():
    salesforce = connected()
    soql = "SELECT+QualifiedApiName,KeyPrefix+FROM+EntityDefinition+WHERE+QualifiedApiName='Order'"
    found = salesforce.toolingexecute(f"query/?q={soql}")
    assert found["size"] == 1 and found["records"][0]["KeyPrefix"] == "801", found
    again = salesforce.query("SELECT KeyPrefix FROM EntityDefinition WHERE QualifiedApiName = 'Order'")
    assert again["records"][0]["KeyPrefix"] == "801", again


run()
