"""The currency codes of ISO 4217 with the days on which they were in force. Generated; do not edit.

By `tools/generate_currencies.py` from ISO 4217 list one as published on 2026-01-01 (package iso4217 1.16.20260101) and
CLDR's currency dates (package Babel 2.19.0). Codes withdrawn before 2000-01-01 are left out, as are XXX and XTS, which
stand for no money.
"""

from __future__ import annotations

from datetime import date

LIST_ONE_PUBLISHED = date(2026, 1, 1)

ACTIVE = frozenset(
    """AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BHD BIF BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE CHF CHW
    CLF CLP CNY COP COU CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD
    HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD
    MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG
    QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD
    TZS UAH UGX USD USN UYI UYU UYW UZS VED VES VND VUV WST XAD XAF XAG XAU XBA XBB XBC XBD XCD XCG XDR XOF XPD XPF
    XPT XSU XUA YER ZAR ZMW ZWG""".split()
)

# First day (UTC) of codes introduced since 2000-01-01.
IN_FORCE_SINCE = {
    "AFN": date(2002, 10, 7),
    "AZN": date(2006, 1, 1),
    "BYN": date(2016, 7, 1),
    "BYR": date(2000, 1, 1),
    "CSD": date(2002, 5, 15),
    "GHS": date(2007, 7, 3),
    "MRU": date(2018, 1, 1),
    "MZN": date(2006, 7, 1),
    "RON": date(2005, 7, 1),
    "RSD": date(2006, 10, 25),
    "SDG": date(2007, 1, 10),
    "SLE": date(2022, 7, 1),
    "SRD": date(2004, 1, 1),
    "SSP": date(2011, 7, 18),
    "STN": date(2018, 1, 1),
    "TJS": date(2000, 10, 26),
    "TMT": date(2009, 1, 1),
    "TRY": date(2005, 1, 1),
    "VEF": date(2008, 1, 1),
    "VES": date(2018, 8, 20),
    "XAD": date(2025, 5, 12),
    "XCG": date(2025, 3, 31),
    "ZMW": date(2013, 1, 1),
    "ZWG": date(2024, 6, 25),
    "ZWL": date(2009, 2, 2),
    "ZWR": date(2008, 8, 1),
}

# Last day (UTC) of codes that are no longer in list one.
IN_FORCE_UNTIL = {
    "ADP": date(2001, 12, 31),
    "AFA": date(2002, 12, 31),
    "ANG": date(2025, 6, 30),
    "AON": date(2000, 2, 1),
    "AOR": date(2000, 2, 1),
    "ATS": date(2002, 2, 28),
    "AZM": date(2006, 12, 31),
    "BEF": date(2002, 2, 28),
    "BGN": date(2025, 12, 31),
    "BYB": date(2000, 12, 31),
    "BYR": date(2017, 1, 1),
    "CSD": date(2006, 10, 25),
    "CUC": date(2021, 6, 1),
    "CYP": date(2007, 12, 31),
    "DEM": date(2002, 5, 15),
    "ECS": date(2000, 10, 2),
    "ECV": date(2000, 1, 9),
    "EEK": date(2010, 12, 31),
    "ESP": date(2002, 2, 28),
    "FIM": date(2002, 2, 28),
    "FRF": date(2002, 2, 17),
    "GHC": date(2007, 12, 31),
    "GRD": date(2002, 2, 28),
    "HRK": date(2022, 12, 31),
    "IEP": date(2002, 2, 9),
    "ITL": date(2002, 2, 28),
    "LTL": date(2014, 12, 31),
    "LUF": date(2002, 2, 28),
    "LVL": date(2013, 12, 31),
    "MCF": date(2002, 2, 17),
    "MGF": date(2004, 12, 31),
    "MRO": date(2018, 6, 30),
    "MTL": date(2007, 12, 31),
    "MZM": date(2006, 12, 31),
    "NLG": date(2002, 2, 28),
    "PTE": date(2002, 2, 28),
    "ROL": date(2006, 12, 31),
    "SDD": date(2007, 6, 30),
    "SIT": date(2006, 12, 31),
    "SKK": date(2008, 12, 31),
    "SLL": date(2023, 12, 31),
    "SRG": date(2003, 12, 31),
    "STD": date(2017, 12, 31),
    "TJR": date(2000, 10, 25),
    "TMM": date(2009, 1, 1),
    "TPE": date(2002, 5, 20),
    "TRL": date(2005, 12, 31),
    "USS": date(2014, 3, 1),
    "VEB": date(2008, 6, 30),
    "VEF": date(2018, 8, 20),
    "XFO": date(2003, 4, 1),
    "XFU": date(2013, 11, 30),
    "YUM": date(2002, 5, 15),
    "ZMK": date(2013, 1, 1),
    "ZWD": date(2008, 8, 1),
    "ZWL": date(2024, 8, 31),
    "ZWR": date(2009, 2, 2),
}
