terraform {
  required_providers { aws = { source = "hashicorp/aws", version = "5.100.0" } }
}
provider "aws" {
  region = "us-east-1"
}
# The same by resources that attach and associate one by one, what is there by default, and data sources.
variable "changed" { default = false }
resource "aws_vpc" "v" {
  cidr_block           = "10.84.0.0/16"
  enable_dns_hostnames = true
}
resource "aws_internet_gateway" "g" {}
resource "aws_internet_gateway_attachment" "a" {
  internet_gateway_id = aws_internet_gateway.g.id
  vpc_id              = aws_vpc.v.id
}
resource "aws_default_route_table" "d" {
  default_route_table_id = aws_vpc.v.default_route_table_id
  route {
    cidr_block = var.changed ? "128.0.0.0/1" : "0.0.0.0/0"
    gateway_id = aws_internet_gateway.g.id
  }
  depends_on = [aws_internet_gateway_attachment.a]
  tags       = { Name = "default" }
}
resource "aws_subnet" "s" {
  count             = 2
  vpc_id            = aws_vpc.v.id
  cidr_block        = "10.84.${count.index}.0/24"
  availability_zone = ["us-east-1a", "us-east-1b"][count.index]
}
resource "aws_network_interface" "i" {
  subnet_id = aws_subnet.s[0].id
}
resource "aws_eip" "e" { domain = "vpc" }
resource "aws_eip_association" "e" {
  allocation_id        = aws_eip.e.id
  network_interface_id = aws_network_interface.i.id
  depends_on           = [aws_internet_gateway_attachment.a]
}
resource "aws_vpc_endpoint" "d" {
  vpc_id       = aws_vpc.v.id
  service_name = "com.amazonaws.us-east-1.dynamodb"
}
resource "aws_vpc_endpoint_route_table_association" "d" {
  vpc_endpoint_id = aws_vpc_endpoint.d.id
  route_table_id  = aws_vpc.v.default_route_table_id
  depends_on      = [aws_default_route_table.d]
}
resource "aws_vpc_endpoint_policy" "d" {
  vpc_endpoint_id = aws_vpc_endpoint.d.id
  policy          = jsonencode({ Version = "2012-10-17", Statement = [{ Effect = "Allow", Principal = "*", Action = var.changed ? "dynamodb:*" : "dynamodb:Get*", Resource = "*" }] })
}
resource "aws_vpc_endpoint" "l" {
  vpc_id            = aws_vpc.v.id
  service_name      = "com.amazonaws.us-east-1.logs"
  vpc_endpoint_type = "Interface"
}
resource "aws_vpc_endpoint_subnet_association" "l" {
  vpc_endpoint_id = aws_vpc_endpoint.l.id
  subnet_id       = aws_subnet.s[1].id
}
resource "aws_security_group" "s" {
  name   = "s"
  vpc_id = aws_vpc.v.id
}
resource "aws_vpc_endpoint_security_group_association" "l" {
  vpc_endpoint_id   = aws_vpc_endpoint.l.id
  security_group_id = aws_security_group.s.id
}
resource "aws_network_interface_sg_attachment" "s" {
  security_group_id    = aws_security_group.s.id
  network_interface_id = aws_network_interface.i.id
}
resource "aws_ec2_managed_prefix_list" "m" {
  name           = "entries"
  address_family = "IPv4"
  max_entries    = 5
  lifecycle { ignore_changes = [entry] }
}
resource "aws_ec2_managed_prefix_list_entry" "e" {
  prefix_list_id = aws_ec2_managed_prefix_list.m.id
  cidr           = "203.0.113.0/24"
}
resource "aws_ec2_tag" "t" {
  resource_id = aws_vpc.v.default_security_group_id
  key         = "k"
  value       = var.changed ? "w" : "v"
}
resource "aws_default_vpc" "d" {}
resource "aws_default_subnet" "d" { availability_zone = "us-east-1a" }

data "aws_security_groups" "s" {
  filter {
    name   = "vpc-id"
    values = [aws_vpc.v.id]
  }
  depends_on = [aws_security_group.s]
}
data "aws_security_group" "d" {
  vpc_id = aws_vpc.v.id
  name   = "default"
}
data "aws_route_table" "d" {
  vpc_id = aws_vpc.v.id
  filter {
    name   = "association.main"
    values = ["true"]
  }
}
data "aws_route_tables" "d" { vpc_id = aws_default_vpc.d.id }
data "aws_internet_gateway" "d" {
  filter {
    name   = "attachment.vpc-id"
    values = [aws_default_vpc.d.id]
  }
}
data "aws_network_interface" "i" { id = aws_network_interface.i.id }
data "aws_eips" "e" { depends_on = [aws_eip.e] }
data "aws_eip" "e" { id = aws_eip.e.id }
data "aws_vpc_endpoint_service" "e" {
  service      = "ecr.api"
  service_type = "Interface"
}
data "aws_vpc_endpoint" "l" { id = aws_vpc_endpoint.l.id }
data "aws_ec2_managed_prefix_list" "s3" { name = "com.amazonaws.us-east-1.s3" }
data "aws_prefix_list" "s3" { name = "com.amazonaws.us-east-1.s3" }
data "aws_subnet" "s" { id = aws_subnet.s[0].id }
data "aws_vpcs" "all" {}
data "aws_vpc_security_group_rules" "r" {
  filter {
    name   = "group-id"
    values = [aws_vpc.v.default_security_group_id]
  }
}
data "aws_regions" "r" {}
data "aws_vpc_dhcp_options" "o" { dhcp_options_id = aws_vpc.v.dhcp_options_id }
data "aws_network_acls" "n" { vpc_id = aws_vpc.v.id }
