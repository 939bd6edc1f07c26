"""Certificates by boto3 and the AWS CLI: ACM's and IAM's, with certificates that openssl made and reads."""

import json
import ssl
import subprocess

import pytest

from test_api import code_of

EC = {"keyTypes": ["EC_prime256v1"]}


def openssl(*args, text=None):
    done = subprocess.run(["openssl", *args], input=text, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


class Made:
    """A certificate that openssl made: self-signed, or signed by another."""

    def __init__(self, folder, name, signer=None, key=("ec", "ec_paramgen_curve:prime256v1")):
        key_file, request, file = (folder / f"{name}.{end}" for end in ("key", "csr", "pem"))
        openssl("req", "-new", "-newkey", key[0], "-pkeyopt", key[1], "-nodes", "-keyout", key_file, "-out", request,
                "-subj", f"/CN={name}")
        extensions = folder / f"{name}.ext"
        extensions.write_text("basicConstraints=critical,CA:TRUE\n" if signer is None else
                              f"subjectAltName=DNS:{name},DNS:*.{name}\nextendedKeyUsage=serverAuth\n")
        sign = ["-signkey", key_file] if signer is None else ["-CA", signer.file, "-CAkey", signer.key_file,
                                                              "-CAcreateserial"]
        openssl("x509", "-req", "-in", request, *sign, "-days", "90", "-extfile", extensions, "-out", file)
        self.file, self.key_file = file, key_file
        self.pem, self.key = file.read_text(), key_file.read_text()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificates")
    root = Made(folder, "root.example.com")
    return root, Made(folder, "www.example.com", root), folder


@pytest.fixture()
def acm(sim):
    acm = sim.client("acm")
    yield acm
    every = {"keyTypes": ["RSA_1024", "RSA_2048", "RSA_4096", "EC_prime256v1", "EC_secp384r1"]}
    for certificate in acm.list_certificates(Includes=every)["CertificateSummaryList"]:
        acm.delete_certificate(CertificateArn=certificate["CertificateArn"])


@pytest.fixture()
def iam(sim):
    iam = sim.client("iam")
    yield iam
    for certificate in iam.list_server_certificates()["ServerCertificateMetadataList"]:
        iam.delete_server_certificate(ServerCertificateName=certificate["ServerCertificateName"])


def test_a_requested_certificate_is_issued_by_the_authority_that_neargate_prints(sim, acm, tmp_path):
    arn = acm.request_certificate(
        DomainName="*.shop.localhost", SubjectAlternativeNames=["shop.localhost"], ValidationMethod="DNS",
        IdempotencyToken="shop", Tags=[{"Key": "team", "Value": "web"}],
    )["CertificateArn"]
    acm.get_waiter("certificate_validated").wait(CertificateArn=arn, WaiterConfig={"Delay": 1, "MaxAttempts": 2})
    told = acm.describe_certificate(CertificateArn=arn)["Certificate"]
    assert told["Status"] == "ISSUED" and told["Type"] == "AMAZON_ISSUED" and told["KeyAlgorithm"] == "RSA_2048"
    assert told["SubjectAlternativeNames"] == ["*.shop.localhost", "shop.localhost"]
    assert {v["ValidationStatus"] for v in told["DomainValidationOptions"]} == {"SUCCESS"}
    records = {v["ResourceRecord"]["Name"] for v in told["DomainValidationOptions"]}
    assert len(records) == 1 and records.pop().endswith(".shop.localhost.")

    authority, leaf = tmp_path / "ca.pem", tmp_path / "leaf.pem"
    authority.write_text(sim.neargate("ca").stdout)
    got = acm.get_certificate(CertificateArn=arn)
    leaf.write_text(got["Certificate"])
    assert got["CertificateChain"].strip() == authority.read_text().strip()
    verified = openssl("verify", "-x509_strict", "-purpose", "sslserver", "-verify_hostname", "a.shop.localhost",
                       "-CAfile", authority, leaf)
    assert verified.strip().endswith("OK")
    ssl.create_default_context(cadata=authority.read_text())
    serial = openssl("x509", "-in", leaf, "-noout", "-serial").strip().split("=")[1]
    assert told["Serial"].replace(":", "").upper() == serial
    assert "PRIVATE" not in json.dumps([told, got], default=str)
    again = acm.request_certificate(DomainName="*.shop.localhost", SubjectAlternativeNames=["shop.localhost"],
                                    ValidationMethod="DNS", IdempotencyToken="shop")
    assert again["CertificateArn"] == arn


@pytest.mark.parametrize("algorithm", ["EC_prime256v1", "EC_secp384r1"])
def test_elliptic_keys_are_issued(acm, algorithm):
    arn = acm.request_certificate(DomainName="a.localhost", KeyAlgorithm=algorithm)["CertificateArn"]
    pem = acm.get_certificate(CertificateArn=arn)["Certificate"]
    assert algorithm.removeprefix("EC_") in openssl("x509", "-noout", "-text", text=pem)


def test_what_cannot_be_issued_is_refused_by_name(acm):
    ask = acm.request_certificate
    for member, value in [("KeyAlgorithm", "RSA_4096"), ("ManagedBy", "CLOUDFRONT"), ("ValidationMethod", "HTTP"),
                          ("Options", {"Export": "ENABLED"})]:
        code, message = code_of(ask, DomainName="a.localhost", **{member: value})
        assert code == "InvalidParameterException" and member in message
    assert code_of(ask, DomainName="not a domain")[0] == "ValidationException"
    assert acm.list_certificates(Includes=EC)["CertificateSummaryList"] == []


def test_an_imported_certificate_is_described_listed_tagged_replaced_and_deleted(acm, made):
    root, leaf, folder = made
    arn = acm.import_certificate(Certificate=leaf.pem, PrivateKey=leaf.key, CertificateChain=root.pem,
                                 Tags=[{"Key": "a", "Value": "1"}])["CertificateArn"]
    told = acm.describe_certificate(CertificateArn=arn)["Certificate"]
    assert told["Type"] == "IMPORTED" and told["DomainName"] == "www.example.com"
    assert told["SubjectAlternativeNames"] == ["www.example.com", "*.www.example.com"]
    assert told["InUseBy"] == [] and told["RenewalEligibility"] == "INELIGIBLE"
    listed = acm.list_certificates(Includes=EC, CertificateStatuses=["ISSUED"])["CertificateSummaryList"]
    assert [c["CertificateArn"] for c in listed] == [arn]
    assert acm.list_certificates()["CertificateSummaryList"] == [], "only RSA unless asked, as AWS"

    acm.add_tags_to_certificate(CertificateArn=arn, Tags=[{"Key": "b", "Value": "2"}])
    acm.remove_tags_from_certificate(CertificateArn=arn, Tags=[{"Key": "a"}])
    assert acm.list_tags_for_certificate(CertificateArn=arn)["Tags"] == [{"Key": "b", "Value": "2"}]

    other = Made(folder, "new.example.com", root)
    again = acm.import_certificate(CertificateArn=arn, Certificate=other.pem, PrivateKey=other.key,
                                   CertificateChain=root.pem)
    assert again["CertificateArn"] == arn
    assert acm.describe_certificate(CertificateArn=arn)["Certificate"]["DomainName"] == "new.example.com"
    acm.delete_certificate(CertificateArn=arn)
    assert code_of(acm.describe_certificate, CertificateArn=arn)[0] == "ResourceNotFoundException"


def test_imports_that_do_not_belong_together_are_refused(acm, made):
    root, leaf, folder = made
    encrypted = openssl("pkey", "-in", leaf.key_file, "-aes256", "-passout", "pass:x")
    for certificate, key, chain, says in [
        (leaf.pem, root.key, root.pem, "does not match"),
        (leaf.pem, leaf.key, leaf.pem, "certificate chain"),
        (leaf.pem, leaf.key, None, "not a valid self signed"),
        (leaf.pem, encrypted, root.pem, "encrypted"),
        (leaf.pem + root.pem, leaf.key, None, "more than one"),
        ("hello", leaf.key, None, "PEM"),
        (leaf.pem, "hello", root.pem, "PEM"),
    ]:
        more = {} if chain is None else {"CertificateChain": chain}
        code, message = code_of(acm.import_certificate, Certificate=certificate, PrivateKey=key, **more)
        assert code == "ValidationException" and says in message, message
    assert acm.list_certificates(Includes=EC)["CertificateSummaryList"] == []


def test_rsa_keys_of_every_size_are_imported(acm, tmp_path):
    for bits in (1024, 2048, 4096):
        one = Made(tmp_path, f"rsa{bits}.example.com", key=("rsa", f"rsa_keygen_bits:{bits}"))
        arn = acm.import_certificate(Certificate=one.pem, PrivateKey=one.key)["CertificateArn"]
        assert acm.describe_certificate(CertificateArn=arn)["Certificate"]["KeyAlgorithm"] == f"RSA_{bits}"


def test_listings_are_paged(acm):
    names = {f"{n}.page.localhost" for n in range(5)}
    for name in names:
        acm.request_certificate(DomainName=name, KeyAlgorithm="EC_prime256v1")
    pages = acm.get_paginator("list_certificates").paginate(Includes=EC, PaginationConfig={"PageSize": 2})
    listed = [c["DomainName"] for page in pages for c in page["CertificateSummaryList"]]
    assert len(listed) == 5 and set(listed) == names
    assert code_of(acm.list_certificates, NextToken="x")[0] == "InvalidArgsException"


def test_the_cli_imports_from_files(sim, acm, made):
    root, leaf, _ = made
    arn = sim.aws("acm", "import-certificate", "--certificate", f"fileb://{leaf.file}", "--private-key",
                  f"fileb://{leaf.key_file}", "--certificate-chain", f"fileb://{root.file}")["CertificateArn"]
    assert acm.get_certificate(CertificateArn=arn)["Certificate"].strip() == leaf.pem.strip()


def test_server_certificates_live(iam, made):
    root, leaf, _ = made
    uploaded = iam.upload_server_certificate(
        ServerCertificateName="web", Path="/company/", CertificateBody=leaf.pem, PrivateKey=leaf.key,
        CertificateChain=root.pem, Tags=[{"Key": "a", "Value": "1"}])
    metadata = uploaded["ServerCertificateMetadata"]
    assert metadata["Arn"] == "arn:aws:iam::000000000000:server-certificate/company/web"
    assert metadata["ServerCertificateId"].startswith("ASCA") and uploaded["Tags"] == [{"Key": "a", "Value": "1"}]
    got = iam.get_server_certificate(ServerCertificateName="web")["ServerCertificate"]
    assert got["ServerCertificateMetadata"] == metadata
    assert (got["CertificateBody"], got["CertificateChain"]) == (leaf.pem.strip(), root.pem.strip())
    listed = iam.list_server_certificates(PathPrefix="/company/")
    assert not listed["IsTruncated"] and listed["ServerCertificateMetadataList"] == [metadata]
    assert iam.list_server_certificates(PathPrefix="/other/")["ServerCertificateMetadataList"] == []

    iam.tag_server_certificate(ServerCertificateName="web", Tags=[{"Key": "b", "Value": "2"}])
    iam.untag_server_certificate(ServerCertificateName="web", TagKeys=["a"])
    assert iam.list_server_certificate_tags(ServerCertificateName="web")["Tags"] == [{"Key": "b", "Value": "2"}]

    iam.update_server_certificate(ServerCertificateName="web", NewServerCertificateName="site", NewPath="/")
    renamed = iam.get_server_certificate(ServerCertificateName="site")["ServerCertificate"]
    assert renamed["ServerCertificateMetadata"]["Arn"] == "arn:aws:iam::000000000000:server-certificate/site"
    iam.delete_server_certificate(ServerCertificateName="site")
    assert code_of(iam.delete_server_certificate, ServerCertificateName="site")[0] == "NoSuchEntity"


def test_bad_server_certificates_are_refused(iam, made):
    root, leaf, _ = made
    good = {"ServerCertificateName": "web", "CertificateBody": leaf.pem, "PrivateKey": leaf.key,
            "CertificateChain": root.pem}
    for change, code in [({"PrivateKey": root.key}, "KeyPairMismatch"), ({"CertificateBody": "x"}, "MalformedCertificate"),
                         ({"CertificateChain": leaf.pem}, "MalformedCertificate"),
                         ({"PrivateKey": "x"}, "MalformedCertificate"), ({"Path": "no"}, "ValidationError")]:
        assert code_of(iam.upload_server_certificate, **{**good, **change})[0] == code, change
    iam.upload_server_certificate(**good)
    assert code_of(iam.upload_server_certificate, **good)[0] == "EntityAlreadyExists"


def test_a_certificate_that_a_listener_uses_cannot_be_deleted(sim, acm, iam, made):
    root, leaf, _ = made
    elbv2, ec2 = sim.client("elbv2"), sim.client("ec2")
    issued = acm.request_certificate(DomainName="lb.localhost")["CertificateArn"]
    uploaded = iam.upload_server_certificate(
        ServerCertificateName="lb", CertificateBody=leaf.pem, PrivateKey=leaf.key, CertificateChain=root.pem,
    )["ServerCertificateMetadata"]["Arn"]
    subnets = [s["SubnetId"] for s in ec2.describe_subnets()["Subnets"]][:2]
    balancer = elbv2.create_load_balancer(Name="certificates", Subnets=subnets)["LoadBalancers"][0]["LoadBalancerArn"]
    try:
        listener = elbv2.create_listener(
            LoadBalancerArn=balancer, Protocol="HTTPS", Port=443, Certificates=[{"CertificateArn": issued}],
            DefaultActions=[{"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "200"}}],
        )["Listeners"][0]["ListenerArn"]
        elbv2.add_listener_certificates(ListenerArn=listener, Certificates=[{"CertificateArn": uploaded}])
        assert acm.describe_certificate(CertificateArn=issued)["Certificate"]["InUseBy"] == [balancer]
        assert code_of(acm.delete_certificate, CertificateArn=issued)[0] == "ResourceInUseException"
        code, message = code_of(iam.delete_server_certificate, ServerCertificateName="lb")
        assert code == "DeleteConflict" and "is currently in use by arn:aws:elasticloadbalancing:" in message
    finally:
        elbv2.delete_load_balancer(LoadBalancerArn=balancer)
    assert acm.describe_certificate(CertificateArn=issued)["Certificate"]["InUseBy"] == []
