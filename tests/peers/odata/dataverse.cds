// What of a Dataverse environment the stories use: its Web API is OData v4 at this path, and tables are entity sets.

@path: '/api/data/v9.2'
service Dataverse {
  // A page has no more rows than this, so that there are some.
  @cds.query.limit: { max: 3 }
  entity accounts {
    key accountid : UUID;
    name          : String(160) @mandatory;
    revenue       : Decimal(19, 4);
    telephone1    : String(50);
  }

  entity contacts {
    key contactid : UUID;
    fullname      : String(160);
  }

  entity systemusers {
    key systemuserid : UUID;
    fullname         : String(200);
    domainname       : String(1024);
  }

  type WhoAmIResponse { UserId : UUID; BusinessUnitId : UUID; OrganizationId : UUID; }
  function WhoAmI() returns WhoAmIResponse;
}
