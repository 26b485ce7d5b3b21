"""Countries: capital, continent, main language, currency and adjective. General knowledge, written by hand."""

from __future__ import annotations

from typing import NamedTuple

from .grammar import table


class Country(NamedTuple):
    """One row; ``name`` is how the country stands inside a sentence ("the Netherlands")."""

    name: str
    capital: str
    continent: str
    language: str
    currency: str
    adjective: str


COMMON = [Country(*row) for row in table("""
France|Paris|Europe|French|euro|French
Germany|Berlin|Europe|German|euro|German
Italy|Rome|Europe|Italian|euro|Italian
Spain|Madrid|Europe|Spanish|euro|Spanish
Portugal|Lisbon|Europe|Portuguese|euro|Portuguese
the United Kingdom|London|Europe|English|pound|British
England|London|Europe|English|pound|English
Scotland|Edinburgh|Europe|English|pound|Scottish
Wales|Cardiff|Europe|English and Welsh|pound|Welsh
Ireland|Dublin|Europe|English and Irish|euro|Irish
the Netherlands|Amsterdam|Europe|Dutch|euro|Dutch
Belgium|Brussels|Europe|Dutch and French|euro|Belgian
Luxembourg|Luxembourg City|Europe|Luxembourgish|euro|Luxembourgish
Switzerland|Bern|Europe|German|Swiss franc|Swiss
Austria|Vienna|Europe|German|euro|Austrian
Denmark|Copenhagen|Europe|Danish|Danish krone|Danish
Sweden|Stockholm|Europe|Swedish|Swedish krona|Swedish
Norway|Oslo|Europe|Norwegian|Norwegian krone|Norwegian
Finland|Helsinki|Europe|Finnish|euro|Finnish
Iceland|Reykjavik|Europe|Icelandic|Icelandic krona|Icelandic
Poland|Warsaw|Europe|Polish|zloty|Polish
the Czech Republic|Prague|Europe|Czech|Czech koruna|Czech
Slovakia|Bratislava|Europe|Slovak|euro|Slovak
Hungary|Budapest|Europe|Hungarian|forint|Hungarian
Romania|Bucharest|Europe|Romanian|leu|Romanian
Bulgaria|Sofia|Europe|Bulgarian|euro|Bulgarian
Greece|Athens|Europe|Greek|euro|Greek
Croatia|Zagreb|Europe|Croatian|euro|Croatian
Serbia|Belgrade|Europe|Serbian|Serbian dinar|Serbian
Slovenia|Ljubljana|Europe|Slovene|euro|Slovenian
Bosnia and Herzegovina|Sarajevo|Europe|Bosnian|convertible mark|Bosnian
Albania|Tirana|Europe|Albanian|lek|Albanian
North Macedonia|Skopje|Europe|Macedonian|denar|Macedonian
Montenegro|Podgorica|Europe|Montenegrin|euro|Montenegrin
Estonia|Tallinn|Europe|Estonian|euro|Estonian
Latvia|Riga|Europe|Latvian|euro|Latvian
Lithuania|Vilnius|Europe|Lithuanian|euro|Lithuanian
Ukraine|Kyiv|Europe|Ukrainian|hryvnia|Ukrainian
Belarus|Minsk|Europe|Belarusian|Belarusian ruble|Belarusian
Russia|Moscow|Europe|Russian|ruble|Russian
Moldova|Chisinau|Europe|Romanian|Moldovan leu|Moldovan
Malta|Valletta|Europe|Maltese|euro|Maltese
Cyprus|Nicosia|Europe|Greek|euro|Cypriot
Turkey|Ankara|Asia|Turkish|Turkish lira|Turkish
Israel|Jerusalem|Asia|Hebrew|shekel|Israeli
Lebanon|Beirut|Asia|Arabic|Lebanese pound|Lebanese
Syria|Damascus|Asia|Arabic|Syrian pound|Syrian
Jordan|Amman|Asia|Arabic|Jordanian dinar|Jordanian
Iraq|Baghdad|Asia|Arabic|Iraqi dinar|Iraqi
Iran|Tehran|Asia|Persian|rial|Iranian
Saudi Arabia|Riyadh|Asia|Arabic|riyal|Saudi
Kuwait|Kuwait City|Asia|Arabic|Kuwaiti dinar|Kuwaiti
Qatar|Doha|Asia|Arabic|Qatari riyal|Qatari
the United Arab Emirates|Abu Dhabi|Asia|Arabic|dirham|Emirati
Oman|Muscat|Asia|Arabic|Omani rial|Omani
Yemen|Sanaa|Asia|Arabic|Yemeni rial|Yemeni
Afghanistan|Kabul|Asia|Pashto and Dari|afghani|Afghan
Pakistan|Islamabad|Asia|Urdu|Pakistani rupee|Pakistani
India|New Delhi|Asia|Hindi|Indian rupee|Indian
Nepal|Kathmandu|Asia|Nepali|Nepalese rupee|Nepalese
Bhutan|Thimphu|Asia|Dzongkha|ngultrum|Bhutanese
Bangladesh|Dhaka|Asia|Bengali|taka|Bangladeshi
Sri Lanka|Colombo|Asia|Sinhala and Tamil|Sri Lankan rupee|Sri Lankan
China|Beijing|Asia|Chinese|yuan|Chinese
Japan|Tokyo|Asia|Japanese|yen|Japanese
South Korea|Seoul|Asia|Korean|won|South Korean
North Korea|Pyongyang|Asia|Korean|North Korean won|North Korean
Mongolia|Ulaanbaatar|Asia|Mongolian|tugrik|Mongolian
Taiwan|Taipei|Asia|Chinese|Taiwan dollar|Taiwanese
Vietnam|Hanoi|Asia|Vietnamese|dong|Vietnamese
Thailand|Bangkok|Asia|Thai|baht|Thai
Cambodia|Phnom Penh|Asia|Khmer|riel|Cambodian
Laos|Vientiane|Asia|Lao|kip|Laotian
Myanmar|Naypyidaw|Asia|Burmese|kyat|Burmese
Malaysia|Kuala Lumpur|Asia|Malay|ringgit|Malaysian
Singapore|Singapore|Asia|English and Malay|Singapore dollar|Singaporean
Indonesia|Jakarta|Asia|Indonesian|rupiah|Indonesian
the Philippines|Manila|Asia|Filipino|Philippine peso|Philippine
Kazakhstan|Astana|Asia|Kazakh|tenge|Kazakh
Uzbekistan|Tashkent|Asia|Uzbek|som|Uzbek
Georgia|Tbilisi|Asia|Georgian|lari|Georgian
Armenia|Yerevan|Asia|Armenian|dram|Armenian
Azerbaijan|Baku|Asia|Azerbaijani|manat|Azerbaijani
Egypt|Cairo|Africa|Arabic|Egyptian pound|Egyptian
Libya|Tripoli|Africa|Arabic|Libyan dinar|Libyan
Tunisia|Tunis|Africa|Arabic|Tunisian dinar|Tunisian
Algeria|Algiers|Africa|Arabic|Algerian dinar|Algerian
Morocco|Rabat|Africa|Arabic|Moroccan dirham|Moroccan
Sudan|Khartoum|Africa|Arabic|Sudanese pound|Sudanese
Ethiopia|Addis Ababa|Africa|Amharic|birr|Ethiopian
Kenya|Nairobi|Africa|Swahili and English|Kenyan shilling|Kenyan
Uganda|Kampala|Africa|English and Swahili|Ugandan shilling|Ugandan
Tanzania|Dodoma|Africa|Swahili|Tanzanian shilling|Tanzanian
Rwanda|Kigali|Africa|Kinyarwanda|Rwandan franc|Rwandan
Somalia|Mogadishu|Africa|Somali|Somali shilling|Somali
Nigeria|Abuja|Africa|English|naira|Nigerian
Ghana|Accra|Africa|English|cedi|Ghanaian
Senegal|Dakar|Africa|French|West African franc|Senegalese
Mali|Bamako|Africa|Bambara|West African franc|Malian
Cameroon|Yaounde|Africa|French and English|Central African franc|Cameroonian
Angola|Luanda|Africa|Portuguese|kwanza|Angolan
Zambia|Lusaka|Africa|English|Zambian kwacha|Zambian
Zimbabwe|Harare|Africa|English and Shona|Zimbabwean dollar|Zimbabwean
Mozambique|Maputo|Africa|Portuguese|metical|Mozambican
Madagascar|Antananarivo|Africa|Malagasy|ariary|Malagasy
Namibia|Windhoek|Africa|English|Namibian dollar|Namibian
Botswana|Gaborone|Africa|English and Tswana|pula|Botswanan
South Africa|Pretoria|Africa|Zulu and English|rand|South African
the United States|Washington, D.C.|North America|English|dollar|American
Canada|Ottawa|North America|English and French|Canadian dollar|Canadian
Mexico|Mexico City|North America|Spanish|Mexican peso|Mexican
Guatemala|Guatemala City|North America|Spanish|quetzal|Guatemalan
Honduras|Tegucigalpa|North America|Spanish|lempira|Honduran
El Salvador|San Salvador|North America|Spanish|dollar|Salvadoran
Nicaragua|Managua|North America|Spanish|cordoba|Nicaraguan
Costa Rica|San Jose|North America|Spanish|colon|Costa Rican
Panama|Panama City|North America|Spanish|balboa|Panamanian
Cuba|Havana|North America|Spanish|Cuban peso|Cuban
Jamaica|Kingston|North America|English|Jamaican dollar|Jamaican
Haiti|Port-au-Prince|North America|Haitian Creole|gourde|Haitian
the Dominican Republic|Santo Domingo|North America|Spanish|Dominican peso|Dominican
Colombia|Bogota|South America|Spanish|Colombian peso|Colombian
Venezuela|Caracas|South America|Spanish|bolivar|Venezuelan
Ecuador|Quito|South America|Spanish|dollar|Ecuadorian
Peru|Lima|South America|Spanish|sol|Peruvian
Bolivia|Sucre|South America|Spanish|boliviano|Bolivian
Chile|Santiago|South America|Spanish|Chilean peso|Chilean
Argentina|Buenos Aires|South America|Spanish|Argentine peso|Argentine
Uruguay|Montevideo|South America|Spanish|Uruguayan peso|Uruguayan
Paraguay|Asuncion|South America|Spanish and Guarani|guarani|Paraguayan
Brazil|Brasilia|South America|Portuguese|real|Brazilian
Australia|Canberra|Oceania|English|Australian dollar|Australian
New Zealand|Wellington|Oceania|English and Maori|New Zealand dollar|New Zealand
Fiji|Suva|Oceania|English and Fijian|Fijian dollar|Fijian
Papua New Guinea|Port Moresby|Oceania|English and Tok Pisin|kina|Papua New Guinean
""", 6)]

RARE = [Country(*row) for row in table("""
Andorra|Andorra la Vella|Europe|Catalan|euro|Andorran
Liechtenstein|Vaduz|Europe|German|Swiss franc|Liechtenstein
Kosovo|Pristina|Europe|Albanian|euro|Kosovan
Bahrain|Manama|Asia|Arabic|Bahraini dinar|Bahraini
the Maldives|Male|Asia|Dhivehi|rufiyaa|Maldivian
Brunei|Bandar Seri Begawan|Asia|Malay|Brunei dollar|Bruneian
East Timor|Dili|Asia|Tetum and Portuguese|dollar|Timorese
Kyrgyzstan|Bishkek|Asia|Kyrgyz|som|Kyrgyz
Tajikistan|Dushanbe|Asia|Tajik|somoni|Tajik
Turkmenistan|Ashgabat|Asia|Turkmen|manat|Turkmen
Eritrea|Asmara|Africa|Tigrinya|nakfa|Eritrean
Djibouti|Djibouti|Africa|French and Arabic|Djiboutian franc|Djiboutian
South Sudan|Juba|Africa|English|South Sudanese pound|South Sudanese
Chad|N'Djamena|Africa|French and Arabic|Central African franc|Chadian
Niger|Niamey|Africa|Hausa|West African franc|Nigerien
Burkina Faso|Ouagadougou|Africa|French|West African franc|Burkinabe
Ivory Coast|Yamoussoukro|Africa|French|West African franc|Ivorian
Togo|Lome|Africa|French|West African franc|Togolese
Benin|Porto-Novo|Africa|French|West African franc|Beninese
Guinea|Conakry|Africa|French|Guinean franc|Guinean
Sierra Leone|Freetown|Africa|English|leone|Sierra Leonean
Liberia|Monrovia|Africa|English|Liberian dollar|Liberian
the Gambia|Banjul|Africa|English|dalasi|Gambian
Mauritania|Nouakchott|Africa|Arabic|ouguiya|Mauritanian
Gabon|Libreville|Africa|French|Central African franc|Gabonese
Malawi|Lilongwe|Africa|English and Chichewa|Malawian kwacha|Malawian
Burundi|Gitega|Africa|Kirundi|Burundian franc|Burundian
Lesotho|Maseru|Africa|Sesotho|loti|Basotho
Mauritius|Port Louis|Africa|English and French|Mauritian rupee|Mauritian
the Seychelles|Victoria|Africa|Seychellois Creole|Seychellois rupee|Seychellois
Belize|Belmopan|North America|English|Belize dollar|Belizean
the Bahamas|Nassau|North America|English|Bahamian dollar|Bahamian
Barbados|Bridgetown|North America|English|Barbadian dollar|Barbadian
Guyana|Georgetown|South America|English|Guyanese dollar|Guyanese
Suriname|Paramaribo|South America|Dutch|Surinamese dollar|Surinamese
Samoa|Apia|Oceania|Samoan|tala|Samoan
Tonga|Nuku'alofa|Oceania|Tongan|pa'anga|Tongan
Vanuatu|Port Vila|Oceania|Bislama|vatu|Vanuatuan
""", 6)]

COUNTRIES = COMMON + RARE

# What a visitor finds there: one thing each, for sentences about a journey.
SIGHTS = dict(table("""
France|the Eiffel Tower
Italy|the Colosseum
Germany|the Brandenburg Gate
Spain|the Prado museum
England|the Tower of London
the United Kingdom|Big Ben
Greece|the Acropolis
Egypt|the pyramids of Giza
China|the Forbidden City
India|the busy markets
Japan|the old temples
Russia|the Red Square
Austria|the opera house
the Netherlands|the canals
the Czech Republic|the Charles Bridge
Peru|the old churches
Turkey|the old citadel
Cuba|the colourful old streets
Iceland|the harbour
Kenya|the national park
Portugal|the yellow trams
Denmark|the statue of the Little Mermaid
Norway|the fjord
Sweden|the royal palace
Finland|the great cathedral
Hungary|the parliament by the Danube
Scotland|the castle on the rock
Argentina|the wide avenues
Australia|the parliament house
Canada|the parliament on the hill
Mexico|the great square
South Korea|the royal palaces
Thailand|the golden temples
the United States|the White House
""", 2))
