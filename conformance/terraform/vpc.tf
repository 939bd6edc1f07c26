terraform {
  required_providers { aws = { source = "hashicorp/aws", version = "5.100.0" } }
}
provider "aws" {
  region = "us-east-1"
  default_tags { tags = { Stack = "t" } }
}
# Every resource of a VPC as stacks have them; `changed` changes what can be changed in place.
variable "changed" { default = false }

resource "aws_vpc" "v" {
  cidr_block           = "10.81.0.0/16"
  enable_dns_hostnames = true
  enable_dns_support   = true
  tags                 = { Name = var.changed ? "after" : "before" }
}
resource "aws_vpc_ipv4_cidr_block_association" "more" {
  vpc_id     = aws_vpc.v.id
  cidr_block = "10.82.0.0/16"
}
resource "aws_subnet" "public" {
  count                   = 2
  vpc_id                  = aws_vpc.v.id
  cidr_block              = cidrsubnet(aws_vpc.v.cidr_block, 8, count.index)
  availability_zone       = ["us-east-1a", "us-east-1b"][count.index]
  map_public_ip_on_launch = !var.changed
  tags                    = { Name = "public-${count.index}" }
}
resource "aws_subnet" "private" {
  count             = 2
  vpc_id            = aws_vpc.v.id
  cidr_block        = cidrsubnet(aws_vpc.v.cidr_block, 8, 10 + count.index)
  availability_zone = ["us-east-1a", "us-east-1b"][count.index]
}
resource "aws_subnet" "more" {
  vpc_id     = aws_vpc_ipv4_cidr_block_association.more.vpc_id
  cidr_block = "10.82.1.0/24"
  depends_on = [aws_vpc_ipv4_cidr_block_association.more]
}
resource "aws_internet_gateway" "g" {
  vpc_id = aws_vpc.v.id
}
resource "aws_eip" "n" {
  domain     = "vpc"
  depends_on = [aws_internet_gateway.g]
  tags       = { Name = var.changed ? "n2" : "n1" }
}
resource "aws_eip" "i" {
  domain            = "vpc"
  network_interface = aws_network_interface.i.id
  depends_on        = [aws_internet_gateway.g]
}
resource "aws_nat_gateway" "n" {
  allocation_id = aws_eip.n.id
  subnet_id     = aws_subnet.public[0].id
  depends_on    = [aws_internet_gateway.g]
}
resource "aws_nat_gateway" "private" {
  connectivity_type = "private"
  subnet_id         = aws_subnet.private[0].id
}
resource "aws_route_table" "public" {
  vpc_id = aws_vpc.v.id
  route {
    cidr_block = "0.0.0.0/0"
    gateway_id = aws_internet_gateway.g.id
  }
  dynamic "route" {
    for_each = var.changed ? [1] : []
    content {
      cidr_block     = "192.0.2.0/24"
      nat_gateway_id = aws_nat_gateway.n.id
    }
  }
}
resource "aws_route_table" "private" {
  vpc_id = aws_vpc.v.id
}
resource "aws_route" "out" {
  route_table_id         = aws_route_table.private.id
  destination_cidr_block = "0.0.0.0/0"
  nat_gateway_id         = var.changed ? aws_nat_gateway.private.id : aws_nat_gateway.n.id
}
resource "aws_route" "list" {
  route_table_id             = aws_route_table.private.id
  destination_prefix_list_id = aws_ec2_managed_prefix_list.l.id
  network_interface_id       = aws_network_interface.i.id
}
resource "aws_route_table_association" "public" {
  count          = 2
  subnet_id      = aws_subnet.public[count.index].id
  route_table_id = var.changed ? aws_route_table.private.id : aws_route_table.public.id
}
resource "aws_main_route_table_association" "m" {
  vpc_id         = aws_vpc.v.id
  route_table_id = aws_route_table.private.id
}
resource "aws_ec2_managed_prefix_list" "l" {
  name           = "offices"
  address_family = "IPv4"
  max_entries    = var.changed ? 6 : 5
  # The provider's change of a description alone fails on AWS too (its issue 43528).
  entry {
    cidr        = var.changed ? "203.0.113.0/24" : "192.0.2.0/24"
    description = "a"
  }
  dynamic "entry" {
    for_each = var.changed ? [] : [1]
    content { cidr = "198.51.100.0/24" }
  }
}

resource "aws_security_group" "inline" {
  name        = "inline"
  description = "inline rules"
  vpc_id      = aws_vpc.v.id
  ingress {
    from_port        = 80
    to_port          = var.changed ? 81 : 80
    protocol         = "tcp"
    cidr_blocks      = ["0.0.0.0/0"]
    ipv6_cidr_blocks = ["::/0"]
    description      = "web"
  }
  ingress {
    from_port = 0
    to_port   = 0
    protocol  = "-1"
    self      = true
  }
  egress {
    from_port       = 443
    to_port         = 443
    protocol        = "tcp"
    prefix_list_ids = [aws_ec2_managed_prefix_list.l.id]
  }
}
resource "aws_security_group" "s" {
  name_prefix = "own-"
  vpc_id      = aws_vpc.v.id
}
resource "aws_vpc_security_group_ingress_rule" "a" {
  security_group_id = aws_security_group.s.id
  cidr_ipv4         = "10.0.0.0/8"
  ip_protocol       = "tcp"
  from_port         = 8080
  to_port           = var.changed ? 8090 : 8080
  description       = "a"
  tags              = { Name = "rule" }
}
resource "aws_vpc_security_group_ingress_rule" "ref" {
  security_group_id            = aws_security_group.s.id
  referenced_security_group_id = aws_security_group.inline.id
  ip_protocol                  = "-1"
}
resource "aws_vpc_security_group_egress_rule" "e" {
  security_group_id = aws_security_group.s.id
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "-1"
  description       = var.changed ? "y" : "x"
}
resource "aws_security_group" "old" {
  name   = "old"
  vpc_id = aws_vpc.v.id
}
resource "aws_security_group_rule" "i" {
  type              = "ingress"
  security_group_id = aws_security_group.old.id
  protocol          = "icmp"
  from_port         = -1
  to_port           = -1
  cidr_blocks       = ["10.0.0.0/8", "192.168.0.0/16"]
  description       = var.changed ? "y" : "x"
}
resource "aws_security_group_rule" "s" {
  type                     = "egress"
  security_group_id        = aws_security_group.old.id
  protocol                 = "udp"
  from_port                = 53
  to_port                  = 53
  source_security_group_id = aws_security_group.s.id
}
resource "aws_default_security_group" "d" {
  vpc_id = aws_vpc.v.id
  dynamic "ingress" {
    for_each = var.changed ? [1] : []
    content {
      protocol  = "-1"
      from_port = 0
      to_port   = 0
      self      = true
    }
  }
}
resource "aws_network_interface" "i" {
  subnet_id       = aws_subnet.public[1].id
  private_ips     = ["10.81.1.50"]
  security_groups = var.changed ? [aws_security_group.s.id] : [aws_security_group.s.id, aws_security_group.inline.id]
  description     = var.changed ? "two" : "one"
}
resource "aws_vpc_endpoint" "s3" {
  vpc_id          = aws_vpc.v.id
  service_name    = "com.amazonaws.us-east-1.s3"
  route_table_ids = var.changed ? [aws_route_table.private.id, aws_route_table.public.id] : [aws_route_table.private.id]
}
resource "aws_vpc_endpoint" "ecr" {
  vpc_id              = aws_vpc.v.id
  service_name        = "com.amazonaws.us-east-1.ecr.api"
  vpc_endpoint_type   = "Interface"
  subnet_ids          = var.changed ? aws_subnet.private[*].id : [aws_subnet.private[0].id]
  security_group_ids  = [var.changed ? aws_security_group.old.id : aws_security_group.s.id]
  private_dns_enabled = true
}
data "aws_vpc" "default" { default = true }
data "aws_subnets" "default" {
  filter {
    name   = "vpc-id"
    values = [data.aws_vpc.default.id]
  }
}
data "aws_availability_zones" "z" { state = "available" }
data "aws_prefix_list" "s3" { prefix_list_id = aws_vpc_endpoint.s3.prefix_list_id }
