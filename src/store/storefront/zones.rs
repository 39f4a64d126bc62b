//! Which zones an address is in.
//!
//! A zone is the union of its countries, states, cities and postcodes. A loose zone holds an address that any of
//! them names; a strict one only an address that it names in each kind that it has members of.

use std::collections::BTreeSet;

use rusqlite::{Connection, params};

/// An address as far as zones ask: upper case, the country by its three letters where it is a known one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    pub country: Option<String>,
    pub state: Option<String>,
    pub city: Option<String>,
    pub postcode: Option<String>,
}

/// ISO 3166: two letters and three.
const COUNTRIES: &str = "ADAND AEARE AFAFG AGATG AIAIA ALALB AMARM AOAGO AQATA ARARG ASASM ATAUT AUAUS AWABW AXALA AZAZE \
    BABIH BBBRB BDBGD BEBEL BFBFA BGBGR BHBHR BIBDI BJBEN BLBLM BMBMU BNBRN BOBOL BQBES BRBRA BSBHS \
    BTBTN BVBVT BWBWA BYBLR BZBLZ CACAN CCCCK CDCOD CFCAF CGCOG CHCHE CICIV CKCOK CLCHL CMCMR CNCHN \
    COCOL CRCRI CUCUB CVCPV CWCUW CXCXR CYCYP CZCZE DEDEU DJDJI DKDNK DMDMA DODOM DZDZA ECECU EEEST \
    EGEGY EHESH ERERI ESESP ETETH FIFIN FJFJI FKFLK FMFSM FOFRO FRFRA GAGAB GBGBR GDGRD GEGEO GFGUF \
    GGGGY GHGHA GIGIB GLGRL GMGMB GNGIN GPGLP GQGNQ GRGRC GSSGS GTGTM GUGUM GWGNB GYGUY HKHKG HMHMD \
    HNHND HRHRV HTHTI HUHUN IDIDN IEIRL ILISR IMIMN ININD IOIOT IQIRQ IRIRN ISISL ITITA JEJEY JMJAM \
    JOJOR JPJPN KEKEN KGKGZ KHKHM KIKIR KMCOM KNKNA KPPRK KRKOR KWKWT KYCYM KZKAZ LALAO LBLBN LCLCA \
    LILIE LKLKA LRLBR LSLSO LTLTU LULUX LVLVA LYLBY MAMAR MCMCO MDMDA MEMNE MFMAF MGMDG MHMHL MKMKD \
    MLMLI MMMMR MNMNG MOMAC MPMNP MQMTQ MRMRT MSMSR MTMLT MUMUS MVMDV MWMWI MXMEX MYMYS MZMOZ NANAM \
    NCNCL NENER NFNFK NGNGA NINIC NLNLD NONOR NPNPL NRNRU NUNIU NZNZL OMOMN PAPAN PEPER PFPYF PGPNG \
    PHPHL PKPAK PLPOL PMSPM PNPCN PRPRI PSPSE PTPRT PWPLW PYPRY QAQAT REREU ROROU RSSRB RURUS RWRWA \
    SASAU SBSLB SCSYC SDSDN SESWE SGSGP SHSHN SISVN SJSJM SKSVK SLSLE SMSMR SNSEN SOSOM SRSUR SSSSD \
    STSTP SVSLV SXSXM SYSYR SZSWZ TCTCA TDTCD TFATF TGTGO THTHA TJTJK TKTKL TLTLS TMTKM TNTUN TOTON \
    TRTUR TTTTO TVTUV TWTWN TZTZA UAUKR UGUGA UMUMI USUSA UYURY UZUZB VAVAT VCVCT VEVEN VGVGB VIVIR \
    VNVNM VUVUT WFWLF WSWSM YEYEM YTMYT ZAZAF ZMZMB ZWZWE";

/// The three letters of a country that is named by two or three.
pub fn country(code: &str) -> String {
    let code = code.trim().to_ascii_uppercase();
    let known = COUNTRIES
        .split(' ')
        .find(|pair| code.len() == 2 && pair.starts_with(&code));
    known.map_or(code, |pair| pair[2..].to_owned())
}

impl Place {
    pub fn new(
        country_code: Option<&str>,
        state: Option<&str>,
        city: Option<&str>,
        postcode: Option<&str>,
    ) -> Self {
        let upper = |text: Option<&str>| {
            text.map(|text| text.trim().to_uppercase())
                .filter(|text| !text.is_empty())
        };
        Self {
            country: country_code.filter(|code| !code.trim().is_empty()).map(country),
            state: upper(state),
            city: upper(city),
            postcode: upper(postcode),
        }
    }

    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The zones that hold a place.
pub fn of(connection: &Connection, place: &Place) -> rusqlite::Result<BTreeSet<String>> {
    let mut named: BTreeSet<(String, String)> = BTreeSet::new();
    let mut statement = connection.prepare_cached(
        "select zone_id, kind from store_zone_v1 where kind = 'country' and country = ?1
         union all select zone_id, kind from store_zone_v1 where kind = 'state' and code = ?2 and (?1 is null or country is null or country = ?1)
         union all select zone_id, kind from store_zone_v1 where kind = 'postcode' and code = ?3 and (?1 is null or country is null or country = ?1)
         union all select zone_id, kind from store_zone_v1 where kind = 'city' and code = ?4",
    )?;
    let mut rows = statement.query(params![place.country, place.state, place.postcode, place.city])?;
    while let Some(row) = rows.next()? {
        if let (Some(zone), kind) = (row.get::<_, Option<String>>(0)?, row.get(1)?) {
            named.insert((zone, kind));
        }
    }
    let candidates: BTreeSet<&String> = named.iter().map(|(zone, _)| zone).collect();
    let mut zones = BTreeSet::new();
    for zone in candidates {
        if !is_strict(connection, zone)? {
            zones.insert(zone.clone());
            continue;
        }
        let mut kinds =
            connection.prepare_cached("select distinct kind from store_zone_v1 where zone_id = ?1")?;
        let kinds = kinds.query_map([zone], |row| row.get::<_, String>(0))?;
        let all = kinds
            .map(|kind| Ok(named.contains(&(zone.clone(), kind?))))
            .collect::<rusqlite::Result<Vec<bool>>>()?;
        if all.into_iter().all(|held| held) {
            zones.insert(zone.clone());
        }
    }
    Ok(zones)
}

fn is_strict(connection: &Connection, zone: &str) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("select 1 from _of_zone where id = ?1 and lower(\"match\") = 'strict'")?
        .exists([zone])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn countries_are_known_by_two_letters_and_three() {
        for (code, expected) in [
            ("au", "AUS"),
            ("AUS", "AUS"),
            (" de ", "DEU"),
            ("XX", "XX"),
            ("", ""),
        ] {
            assert_eq!(country(code), expected, "{code}");
        }
        assert!(Place::new(Some(" "), None, Some(""), None).is_empty());
    }

    #[test]
    fn a_strict_zone_holds_what_it_names_in_every_kind() {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch(
                "create table _of_zone (id, \"match\"); insert into _of_zone values ('loose', 'loose'), ('strict', 'Strict'), ('both', 'strict');
                 create table store_zone_v1 (zone_id, kind, country, code);
                 insert into store_zone_v1 values ('loose', 'country', 'AUS', null), ('loose', 'postcode', 'NZL', '0110'),
                    ('strict', 'state', 'AUS', 'TAS'), ('both', 'country', 'AUS', null), ('both', 'postcode', 'AUS', '7000');",
            )
            .unwrap();
        let cases = [
            ((Some("AU"), None, None), "loose"),
            ((Some("AU"), Some("TAS"), None), "loose strict"),
            ((Some("AU"), Some("TAS"), Some("7000")), "both loose strict"),
            ((None, Some("tas"), None), "strict"),
            ((Some("NZ"), Some("TAS"), Some("0110")), "loose"),
            ((Some("FR"), None, Some("7000")), ""),
            ((None, None, None), ""),
        ];
        for ((country, state, postcode), expected) in cases {
            let zones = of(&connection, &Place::new(country, state, None, postcode)).unwrap();
            let zones: Vec<String> = zones.into_iter().collect();
            assert_eq!(zones.join(" "), expected, "{country:?} {state:?} {postcode:?}");
        }
    }
}
